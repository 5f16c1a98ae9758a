//! Single tasks: spawn, handle, output.
