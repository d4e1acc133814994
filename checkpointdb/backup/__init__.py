"""Copies of a store at a remote: a directory elsewhere, or a bucket.

    payloads/p-<pipeline>/<sequence>-<checkpoint_id>.<sha256, 16 digits>.ckpt.gz
    snapshots/<time>-<sha256>.db.gz      the database, as it was at some moment
    keyring.json                         of an encrypted store: what a rebuild needs beside a key
    latest.json                          which snapshot holds

Everything but the last two is written once, under a name that says what must be in it. A push
writes payloads, keyring, snapshot and then the pointer to it: wherever it is interrupted, the
remote holds what it held before, and the next push finds what is there already.
"""
