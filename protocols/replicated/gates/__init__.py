"""What this family adds to the gates of `beaver`: coming back to replicated shares, in the same or another ring."""
