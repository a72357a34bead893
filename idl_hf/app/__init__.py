"""The browser app: look at a person, talk to them, and ask why a reply came (extra `app`)."""
