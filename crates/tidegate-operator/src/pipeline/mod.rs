//! One pipeline, reconciled: dereference → validate → observe → decide → build → apply → status.

mod facts;
