"""What `secure.Verifier` finds of attacks on three services: digits, pictures of clothes, descriptions of packages."""
