//! Model to policy table.
