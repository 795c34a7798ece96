"""lbctl: parse, call, print."""
