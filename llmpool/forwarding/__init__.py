"""
What a client of an API sends, passed on to a deployment of the pool: HTTP in, HTTP out.

It knows no HTTP library. :mod:`llmpool.contrib` puts it into the seams that clients have.
"""
