"""The way onto a chain: compile the generated verifier, deploy it, send it proofs. The only door to web3."""
