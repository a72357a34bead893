"""Chats that people have, as apps export them. One reader a file: `found(path) -> bool` and
`read(path, log) -> Iterator[Message]`; a file's name is its format's."""
