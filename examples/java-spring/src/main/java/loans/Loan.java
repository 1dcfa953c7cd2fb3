package loans;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;

/**
 * A loan that is paid back in equal instalments.
 *
 * @param amount what is lent
 * @param rate interest in percent a year
 * @param months how many instalments there are, one a month
 */
public record Loan(BigDecimal amount, BigDecimal rate, Integer months) {
    private static final MathContext PRECISION = MathContext.DECIMAL128;
    private static final BigDecimal LARGEST_AMOUNT = new BigDecimal("1000000000");
    private static final BigDecimal LARGEST_RATE = new BigDecimal("100");
    private static final BigDecimal MONTHLY_FRACTION = new BigDecimal("1200");
    private static final int MOST_MONTHS = 600;

    /** What the borrower pays: each month, in all, and of that for interest. */
    public record Cost(BigDecimal instalment, BigDecimal total, BigDecimal interest) {}

    /**
     * What this loan costs; the instalment is rounded up to a whole cent.
     *
     * @throws InvalidLoanException if a part of the loan is missing or out of range
     */
    public Cost cost() {
        check("amount", amount, BigDecimal.ONE, LARGEST_AMOUNT);
        check("rate", rate, BigDecimal.ZERO, LARGEST_RATE);
        check("months", months, 1, MOST_MONTHS);
        checkDecimals("amount", amount, 2);
        checkDecimals("rate", rate, 4);
        BigDecimal instalment = instalment().setScale(2, RoundingMode.CEILING);
        BigDecimal total = instalment.multiply(BigDecimal.valueOf(months));
        return new Cost(instalment, total, total.subtract(amount));
    }

    private BigDecimal instalment() {
        if (rate.signum() == 0) {
            return amount.divide(BigDecimal.valueOf(months), PRECISION);
        }
        BigDecimal monthly = rate.divide(MONTHLY_FRACTION, PRECISION);
        BigDecimal discount = BigDecimal.ONE.add(monthly).pow(-months, PRECISION);
        return amount.multiply(monthly).divide(BigDecimal.ONE.subtract(discount), PRECISION);
    }

    private static <T extends Comparable<T>> void check(String name, T value, T least, T most) {
        if (value == null || value.compareTo(least) < 0 || value.compareTo(most) > 0) {
            throw new InvalidLoanException("`%s` must be from %s to %s".formatted(name, least, most));
        }
    }

    private static void checkDecimals(String name, BigDecimal value, int most) {
        if (value.scale() > most) {
            throw new InvalidLoanException("`%s` may have at most %d decimal places".formatted(name, most));
        }
    }
}
