"""Three evaluators and a dealer: malicious security with abort against any one evaluator. The dealer is honest, or
there are two of whom one is.

Setting. Every value is shared in three parts, x = x_0 + x_1 + x_2 in Z_2^k, or by XOR. Evaluator i, written e_i, holds
parts i and i + 1 (indices mod 3), so part i is held by e_i and e_{i-1}, and e_{i+1} lacks it. Masks are r = r_0 + r_1 +
r_2 with r_j from seed_j, which the dealer has drawn and given to both holders of part j. What is dealt, V, has V_0 and
V_1 from seeds too, and the dealer sends V_2, the same to e_1 and e_2. Programs and gates are those of two parties and a
dealer: part 0 stands where public terms are added, and what a part says in a round is
    m_j = f(part j of inputs, weights and what was dealt; the values opened before),
affine in part j, with coefficients that all evaluators know. `gates.COMPUTED` lists the gates of which that was seen.

Round t. e_i computes m_i and m_{i+1}, and sends to e_{i+1} its m_i and the digest h_{t-1}, to e_{i-1} that digest
alone. It receives m_{i-1} and two digests, and stops for good where they are not its own, or a length is wrong. Only
then it takes c_t, the sum of all three, and goes on. h_t is the SHA-256 of a seed that all evaluators have and of all
values opened in rounds 0 to t. A step ends with a round without an m, before anything is sent to the client. Parts of
outputs come to the client from two evaluators each, under a fresh sharing of zero; it compares them.

**Claim 1: soundness.** Let e_0 deviate. Unless SHA-256 collides, an output that an honest client accepts is that of the
program on the parts that the honest e_1 and e_2 hold.
    The only m of e_0 that an honest evaluator uses is m_0, at e_1. e_2 computes m_0 itself. h_t goes directly between
    e_1 and e_2, in TLS, and both compare it before they send anything of round t + 2, and before an output. So as long
    as they go on they have opened the same values, up to the last round, whose digest the empty round compares. e_2
    computes c_t from m_2 and m_0, its own, and e_1's m_1. By induction over rounds e_1's m_1 is the prescribed one, as
    it follows from part 1 and values that e_2 has opened, too; hence c_t is the prescribed one, at both. Of the output,
    part 2 comes from e_1 and e_2, part 1 from e_1, part 0 from e_2: one honest evaluator each, and what e_0 says of
    parts 0 and 1 is accepted only where it is equal. Parts 1 and 2 of evaluators go the same way, by symmetry: nothing
    but names distinguishes them, for the dealer is honest. No algebra is used: an error of 2^63, of one bit of a plane
    or of a table is like any other.
**Claim 2: privacy up to the abort.** What e_0 hears can be computed from its own parts and its own deviation.
    While e_0 does as prescribed, it receives m_2 of each round. Under an opening's mask that is uniform to it, as it
    does not have seed_2; where nothing masks (`SumVanishes`), it is the opened sum less what e_0 has. Let round t be
    the first in which it sends a wrong m_0 = m_0 + a, or a wrong digest. Its victim e_1 opens c + a, and e_1's messages
    go to e_2, never to e_0; e_0's come from e_2, who has not used its m_0. So in round t + 1 it hears from e_2 the m_2
    of an honest run and h_t of an honest run, and from e_1 the digest of what was opened before and c + a: of values
    that it knows. Then both have compared, and send it nothing more. A length that is wrong, silence, or another seed
    sent to e_1 than to e_2 end the session likewise, only earlier.
**Claim 3: no selective failure.** Whether e_1 and e_2 stop, and in which round, depends only on the differences between
    what e_0 sends and what is prescribed: c + a = c in Z_2^k if and only if a = 0 there. It depends on no secret.
**Claim 4: a client, or a model's owner, that colludes with e_0** learns no more than outputs. They may give e_1 another
    part 2 than e_2, with a difference D, and e_0 may offset that by its m_0. m_2 is affine, so the two evaluators' m_2
    differ by a public function of D and of opened values, which the adversary computes itself. Either the offset is
    right, and c is the same at both: then all runs as prescribed on e_2's parts, as e_1's part 2 is in no message. Or
    it is not, and the digests that e_0 hears are of c and of c and a known difference. An e_0 that has the client's
    view of outputs has two parts of each, and the third follows from the output. Claim 1 says what the output is of:
    parts 0 and 2 of e_2, part 1 of e_1. p2 may be the client's or the owner's own machine: that is this case.
**Claim 5: one-hot inputs.** A vector that is not one-hot passes with the probability that `masked.one_hot` says.
    e_2 sends its m_2 of the challenge, which e_0 lacks until then, only after a round in which it heard from e_1; and
    e_1 takes part in that round when it has its parts of the input. So e_1 and e_2 hold an input, by claim 4, when the
    challenge becomes known to e_0; without that round its client could still wait with what it gives e_1. To a dealer
    that tells what it knows, a secret of the evaluators is missing. The verdict is acted on only when the digest of the
    round that opened it was compared, so that e_0 can neither pass a vector, nor blame an honest client.

**From stock.** A deal D is what the dealer gives for one session: seeds, and V_2. It has a name of its own, which takes
the session's place in the keys of all generators, and is there before anybody knows of a session. Fresh in each session
is what all evaluators have: a seed that e_0 draws when all three have met. With the session and the name of D it begins
the hash that h_t is of, and the key of what is drawn for one-hot inputs.
    e_0 commits to its own disk that D is spent for session S, and names S and D to e_1. e_1 commits the same, answers,
    and names S and D to e_2. So does e_2 to e_0, which answers where that is what it had named itself. Each says this
    to the other in TLS. An evaluator sends its first m when it has committed, and heard S and D of both others.
**Claim 6: a deal serves one session.** Let one evaluator deviate, and clients with it. There is at most one session in
which an honest one sends what depends on D, unless both honest ones have lost a write that was committed.
    Let e and f be honest. If e sends an m under D in S, then e has committed that D is spent for S; and it has heard S
    and D from f itself, who says them after its own commit. The same is true of f. A commit is a compare-and-set from
    "in stock", which no deal enters twice, and names one session. If either sent an m under D in S and in another S',
    both would have committed D for both, and at both the second commit would have found D in stock: both lost one.
    It does not matter which one deviates, though they are not alike here. e_0 may name an old deal, one of another
    request, or one in two sessions at a time: e_1 refuses. It cannot name A to e_1 and B to e_2, which hears from e_1.
    An e_1 that hears A and names B to e_2 is given away by e_2 to e_0, and an e_2 that names B to e_0 by itself, before
    any m; B is then spent at one, and serves nobody. An honest evaluator whose disk was rolled back would spend D once
    more, and is stopped by the other honest one, whom it hears before its first m, whoever was rolled back.
    In that one session claims 1 to 5 stand as they are. What the adversary has of D, two seeds and perhaps V_2, is
    uniform given all that the others have. It may have it for days, and choose inputs by it; so it may with the dealer
    on line, where an evaluator has its seeds before the client has sent anything. The words of `Draw` are masks of D:
    e_0 lacks one part of them until e_2 has said it, in S, after the round of `AllAreHere`, as ever.
    Whoever deviates can burn stock: a deal with each session that it spoils, or all of it when stocks are compared. No
    delivery is promised, and what is burnt is used by nobody.

**Two dealers** (`two_dealers`, the family "witnessed-two-dealers"). The first one, D, draws the seeds, gives each
evaluator two and the second one, D', all three, and sends V_2 to e_1 and e_2 in messages. D' computes the same from the
same seeds. It sends e_i the SHA-256 of the session and e_i's two seeds, and e_1 and e_2 for message n the SHA-256 of
the session, n, and the message. An evaluator compares the seeds before it computes, and a message when it comes, before
it takes a word of it; where they differ it stops for good.
**Claim 7: one dealer deviates**, and all evaluators follow the protocol. Unless SHA-256 collides, what a client accepts
is right as by claim 1, whether and when a session stops depends on no secret, and neither dealer learns anything.
    Let D deviate. Let s be the seeds that it gave to D'. An evaluator that goes on holds its two seeds of s, or stops
    before its first message; and each word of V_2 that it has used is the one that follows from s and from the program,
    which D' runs on shapes. So all that any evaluator ever sends is what it would send with honest dealers who have
    drawn s. That s is D's choice does no harm to what is computed: claims 1 to 4 hold for any seeds that the dealer
    knows, and whoever else would profit from a bad s is a second party that deviates. A message is compared as a whole,
    with its place: one that is cut, joined, repeated, left out or from elsewhere is another message, or silence.
        Whether an evaluator stops, and at which message, is decided by bytes of D and of D' alone. Neither of them has
    seen anything but what the client says to all, and evaluators send nothing to dealers but that an input begins to
    come. How far they have read ahead tells of timing, which all see.
    Let D' deviate. Evaluators use D's words alone, which are right. All that D' can do is to stop a session, by
    digests that depend on nothing but what it knows.
    *Why each message, and before it is used.* With words compared late, or by e_1 and e_2 among themselves alone, D
    would learn secrets from when they stop. It tells e_1 alone V_2 + 2^63 for a word whose coefficient is c, an opened
    value: e_1 then says 2^63 c more, and the two differ in the next round if and only if c is odd. D knows the mask r
    of c = x + r. So it gets the last bit of x, or of a weight, for each session that it spoils. A test plays that
    against one dealer, which must be honest, and against two. *Why seeds, too.* If D gave e_0 another seed_0 than e_2,
    and had searched for two whose first masks are equal, the same would follow from a later difference.
    A client or an owner that colludes with a dealer is not covered: it can give e_1 another part 2 than e_2, with a
    difference of 2^63 that vanishes in the ring of the first opening, and learns as above from when they stop. Nor is
    one evaluator with either dealer: together they have all parts. What was dealt ahead is not for two dealers.

Rounds that several branches share (`masked.lanes`) are one round: one message, one pair of digests, and what it opened
is added to the digest in the order of the branches, which follows from shapes and is the same at all evaluators. A
branch's message depends on nothing that its own round opens.

Two ways of doing less are known to be wrong, and tests hold them off. Digests at the end of a session: after a wrong
m_0 the victim's later digests are of values that depend on part 2, and e_0 can test guesses of it. Digests of messages,
each compared with what another holder of the part computes: a client that gives e_1 and e_2 different parts 2 gets a
digest of what part 2 is in the other's program. Digests are of opened values, in the next round, between all.

What is not promised. Delivery: any evaluator can end a session. Anything if two evaluators collude, or one with a
dealer: they have all parts. A single dealer that deviates: results may be wrong if it tells both holders the same wrong
thing, and if it tells them different things it learns from when they stop, as claim 7 says. Who deviated: whoever
notices knows that it is one of the two others, or that the client or owner gave them unequal parts. Shapes, timing and
the round of an abort are seen by all.

All machines must compute the same bits: a difference ends sessions, though it endangers nothing.

Sources: parts that two of three hold: Araki et al. 2016; a fourth role that deals: Chaudhari et al., ASTRA, 2019. The
order of digests and the argument are the project's own, and were not reviewed by anybody outside of it.
"""
