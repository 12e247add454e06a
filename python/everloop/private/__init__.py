"""Names of others that we use and that are not public: no other place in the package has such a name.

Reading order: names.py (what an entry says, and how a missing one is told), then the entries with the functions that
use them, by what they are for. Each entry has a test that it is there and means what we believe, and each loss has one
too (tests/test_private.py). The entries of the native half stand in crates/native/src/private.rs.
"""
