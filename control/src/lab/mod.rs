//! A node and its pods as network namespaces.
