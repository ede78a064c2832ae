//! Kubernetes objects as podgate uses them.
