"""Checks over a whole inventory, before any host is touched. Pure: files of the controller arrive as ``FileFacts``.

One small file per subject. A check takes the inventory and yields refusals; it never raises on bad input, because all
that is wrong is told at once.
"""
