//! From the custom resource to the resolved configuration
