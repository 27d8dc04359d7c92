"""The version of this software, which a party signs in a receipt."""

VERSION = "0.1.0"
