// A C++ program: exceptions, threads, OpenMP.
#include <iostream>
#include <stdexcept>
#include <thread>

int main() {
    int sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < 100; i++) {
        sum += i;
    }
    std::thread thread([&] {
        try {
            throw std::runtime_error("x");
        } catch (const std::exception &) {
            sum++;
        }
    });
    thread.join();
    std::cout << (sum == 4951 ? "c++ is well" : "c++ is wrong") << "\n";
}
