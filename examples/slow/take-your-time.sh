#!/bin/bash
# Long enough to stop the scheduler in the middle; a second run of it starts from one.
for second in $(seq 25); do
    echo "second $second of 25"
    sleep 1
done
