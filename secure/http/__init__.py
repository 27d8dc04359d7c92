"""One HTTP stack in OpenAI's format: routes, keys, errors and streams over a backend.

Whoever serves a model implements `secure.parties.encrypted.tokens.TokenGenerator`, ids in and ids out, and puts it
into a `TextBackend` or an `IdsBackend`; or writes another `Backend`. `completions_app` makes an application of that,
and `HttpServer` runs it.
"""
