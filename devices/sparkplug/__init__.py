"""Sparkplug B 3.0, as a host application hears it.

Topics, the decoder of payloads, the state of one edge node (births, aliases, `seq`, `bdSeq`, deaths), and the two
messages that a host sends. Pure: no client, no clock, no store. A collector needs `topics.parse`, `host.take` and
`messages`, and keeps `host.Node` wherever it likes.
"""
