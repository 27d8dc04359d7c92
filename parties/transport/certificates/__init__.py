"""Certificates: what one says, who makes them, and whose a role takes.

A role's folder, which `[tls] dir` names, holds these files. The private keys of the authorities are never among them.

    ROLE.crt, ROLE.key       the role's own
    ROLE.csr, ROLE.new.key   a request that an authority is to sign, and its key, until `secure certs install`
    authority.crt            the one authority of all roles, where there is no folder `trusted`
    trusted/ROLE/*.crt       the authorities that may vouch for ROLE, and for no other role
    revoked/*.crl            what an authority takes back: a list for each

The role stands in a certificate's common name, in a SAN URI (`urn:secure-inference:role:p0`) and in a SAN DNS name
equal to the role. Dialling sides ask TLS to verify that DNS name, so a connection to p1's address that is answered with
the dealer's certificate fails before any frame is sent, also when all parties share one host.
"""
