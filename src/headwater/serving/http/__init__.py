"""The service over HTTP: routes, handlers, schemas, access and limits."""
