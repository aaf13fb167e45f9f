"""A rig of real processes, for tests that hurt them: `rig` makes one, `ground` what several of them share.

with ground(folder / "ground") as shared, rig(RigOptions("two", store="postgresql", processes=TWO_OF_EACH), shared,
                                              folder / "two") as running:
    running.children["prover-1"].kill()
    running.rpc.set(Way.HANGING)
"""
