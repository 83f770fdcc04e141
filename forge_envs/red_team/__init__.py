"""Attacks on the judges of coding worlds: what earns a reward without doing the task.

Each attack is one small file in the folder of its world. It says which class of faults it is of and what it
does; `forge-envs red-team WORLD` tries it on tasks of any source and shows what the official harness says
beside what ours says.
"""
