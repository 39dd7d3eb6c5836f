//! Numbers in, numbers out: the statistics that compare a window with its baseline.
