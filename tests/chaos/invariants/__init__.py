"""What must hold after every fault, seen from outside: in the database, on the chain, among the processes."""
