"""Three symmetric computing parties with 2-out-of-3 replicated shares: semi-honest, one corruption, no dealer.

x = x_0 + x_1 + x_2 in Z_2^k; party i holds x_i and x_{i+1} (indices mod 3), so any two parties hold everything and any
one holds two uniform numbers. Sums and products with public numbers are local.

**A replicated share is a masked opening.** Let party k be the *helper*, k + 1 the *first* and k + 2 the *second* of the
other two. First and second both hold c := x_{k+2}; the helper holds x_k and x_{k+1}, hence r := -(x_k + x_{k+1}); and
x = c - r. First holds the share -x_{k+1} of r, second the share -x_k. That is what the `beaver` family opens values
for, with its dealer in the helper's place: any function of x comes from a public function of c and dealt functions of
r. Here nothing needs to be opened, nothing is dealt before, and every party may be the helper; the three take turns.
So gates that say "dealer" and "P0", "P1" run here with helper, first and second in these roles.

Why no party learns anything. The only messages of any gate are
  - an exchange between first and second of values, each masked by a stream that its sender shares with the helper
    alone; the helper does not see them,
  - the helper's corrections to second: dealt value minus a stream that the helper shares with first alone.
Whoever receives one of them does not hold the seed of its mask, and no address of a stream is used twice, so all that
a party ever receives is uniform and independent of everything else that it holds, and can be simulated without any
input. What a gate leaves behind is a replicated share again: its common part was masked by both streams, or, after a
truncation, is the old common part shifted, which both holders compute; its other two parts are streams or dealt. The
zero that is added when a result is revealed keeps the client from what common parts would tell. Two parties together
hold everything: one corruption is what this family withstands.

Sources: Araki, Furukawa, Lindell, Nof, Ohara, High-throughput semi-honest secure three-party computation, 2016
(replicated products from pairwise seeds); Mohassel, Rindal, ABY3, 2018 (truncation by two of three); PUMA, 2023 (the
setting). The helper in the dealer's place: Chaudhari, Choudhury, Patra, Suresh, ASTRA, 2019.
"""
