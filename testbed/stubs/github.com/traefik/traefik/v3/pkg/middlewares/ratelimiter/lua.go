package ratelimiter // without the scripts for Redis
