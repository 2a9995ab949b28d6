"""How one pair is decided: a plan offers actions, a policy buys them or stops, an account pays.

`driver` has the loop, `run` the chains it works on, `policy` and `plan` what a request asked for.
"""
