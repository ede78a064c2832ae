//! Namespaces, pods, traffic and faults for the live tests.
