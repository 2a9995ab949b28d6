"""What judging may cost: meters count it, accounts pay it, a ledger shares it, a controller steers.

`hulls` allocates offline, where every value and cost is known beforehand.
"""
