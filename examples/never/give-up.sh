#!/bin/bash
echo "this never works"
exit 3
