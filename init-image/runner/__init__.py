"""
The main container of the init job: runs the items of a plan, in order, against the nested cluster.

Standard library only, and nothing from kns: the plan (see plan.py) is the whole contract between the two. The
package must never print its environment, which holds the job's secrets.
"""
