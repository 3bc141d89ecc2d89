"""The wire formats. Each provider turns one request type into one API's shape and back."""
