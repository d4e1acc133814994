"""A pipeline of nine stages over Python's own sources: checkpointed, killed, resumed.

Run it with `make demo`, or `python -m examples.demo` from the checkout.
"""
