//! Object layout, Parquet writing, the commit log and its verification
