int twice (int x) {
    return 2 * x;
}
void main () { stdout.printf ("%d\n", twice (21)); }
