//! Random operations beside a stupid oracle, deaths and hostile bytes.
