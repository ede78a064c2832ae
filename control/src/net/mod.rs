//! Namespaces, links, bridges and qdiscs, over netlink.
