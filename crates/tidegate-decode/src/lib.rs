//! Bytes to Arrow record batches, bad rows set aside
