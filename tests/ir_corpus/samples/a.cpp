#include <vector>
#include <numeric>
template <class T>
T total(const std::vector<T> &v) {
  return std::accumulate(v.begin(), v.end(), T());
}
int use(const std::vector<int> &v) { return total(v); }
