//! Tests of following fragments.
