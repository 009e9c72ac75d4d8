//! The streaming loop: fetch, decode, dedup, batch, write, commit; and the agent
