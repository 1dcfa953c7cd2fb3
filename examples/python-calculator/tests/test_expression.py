import unittest

from calculator.expression import ExpressionError, evaluate


class Evaluate(unittest.TestCase):
    def test_values(self):
        for text, value in {
            "2 * 100": "200",
            "5 / 2": "2.5",
            "(1 + 2) / 4": "0.75",
            "-2 - -.5": "-1.5",
            "0.1 + 0.2": "0.30000000000000004",
            "10000000000 * 10000000000000": "100000000000000000000000",
        }.items():
            with self.subTest(text):
                self.assertEqual(evaluate(text), value)

    def test_errors(self):
        for text, message in {
            "1 / 0": "division by zero at column 6",
            "(1": "missing ) at column 3",
            "1.2.3": "not a number at column 1",
            "2 *": "expected a number at column 4",
            "2 2": "unexpected character at column 3",
            "(" * 100_000: "too many parentheses",
        }.items():
            with self.subTest(text[:9]), self.assertRaises(ExpressionError) as raised:
                evaluate(text)
            self.assertEqual(str(raised.exception), message)


if __name__ == "__main__":
    unittest.main()
