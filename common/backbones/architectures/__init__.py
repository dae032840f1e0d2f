"""Networks that neither MXNet's model zoo nor gluoncv has."""
