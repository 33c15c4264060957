"""A certified OAuth server (npm `oidc-provider`) in the place of a Databricks workspace."""
