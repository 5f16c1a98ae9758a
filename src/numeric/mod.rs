//! Pure slice kernels: tiles, streaming stores, lanes.
