"""What all HTTP front ends share: the server, the middleware, answers, errors, parameters, routes and OpenAPI."""
