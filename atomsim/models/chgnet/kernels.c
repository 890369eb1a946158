/* What CHGNet's message passing does between matrix products, one pass over memory each.
 *
 * Single precision, one thread (a process per core runs alone on its system). Rows are WIDTH or
 * 2 WIDTH floats, which is what lets the compiler keep a row in registers.
 */
#include <math.h>
#include <stdint.h>

enum { WIDTH = 64, TABLES = 4 };

/* The exponent is bounded where the result is 0 or 1 to single precision: outside, vectorised
 * exponentials take a path ten times slower, and a fast reciprocal of an overflow is no number. */
static inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-fminf(fmaxf(x, -40.0f), 40.0f))); }

/* SiLU(norm(core)) * sigmoid(norm(gate)), rows of mean zero. A row of core begins every `stride`
 * floats, its gate `apart` floats behind: (2, n, WIDTH) and (n, 2, WIDTH) are both read in place. */
void gated_forward(int64_t n, int64_t stride, int64_t apart, const float *restrict pair, const float *restrict scale, const float *restrict shift,
                   float epsilon, float *restrict out, float *restrict inverse) {
    for (int64_t row = 0; row < n; row++) {
        const float *core = pair + row * stride, *gate = core + apart;
        float a = 0, b = 0;
        for (int k = 0; k < WIDTH; k++) { a += core[k] * core[k]; b += gate[k] * gate[k]; }
        a = 1.0f / sqrtf(a / WIDTH + epsilon);
        b = 1.0f / sqrtf(b / WIDTH + epsilon);
        inverse[row] = a;
        inverse[n + row] = b;
        float *y = out + row * WIDTH;
        for (int k = 0; k < WIDTH; k++) {
            float x = core[k] * a * scale[k] + shift[k];
            y[k] = x * sigmoid(x) * sigmoid(gate[k] * b * scale[WIDTH + k] + shift[WIDTH + k]);
        }
    }
}

void gated_backward(int64_t n, int64_t stride, int64_t apart, const float *restrict dy, const float *restrict pair, const float *restrict inverse,
                    const float *restrict scale, const float *restrict shift, float *restrict dpair) {
    for (int64_t row = 0; row < n; row++) {
        const float *core = pair + row * stride, *gate = core + apart, *d = dy + row * WIDTH;
        float a = inverse[row], b = inverse[n + row], along_a = 0, along_b = 0;
        float ga[WIDTH], gb[WIDTH];
        for (int k = 0; k < WIDTH; k++) {
            float na = core[k] * a, nb = gate[k] * b;
            float x = na * scale[k] + shift[k];
            float s = sigmoid(x), t = sigmoid(nb * scale[WIDTH + k] + shift[WIDTH + k]);
            /* d(x s)/dx = s + x s (1 - s); dt/dx = t (1 - t) */
            ga[k] = d[k] * t * (s + x * s * (1.0f - s)) * scale[k];
            gb[k] = d[k] * x * s * t * (1.0f - t) * scale[WIDTH + k];
            along_a += ga[k] * na;
            along_b += gb[k] * nb;
        }
        along_a /= WIDTH;
        along_b /= WIDTH;
        float *da = dpair + row * stride, *db = da + apart;
        for (int k = 0; k < WIDTH; k++) {
            da[k] = (ga[k] - core[k] * a * along_a) * a;
            db[k] = (gb[k] - gate[k] * b * along_b) * b;
        }
    }
}

/* sum[row] = sum over tables of table[index[row]], out = SiLU(sum); a null index is the row itself,
 * and with a null out the sum is all. */
void gather_forward(int64_t n, int tables, const float *const *table, const int64_t *const *index,
                    float *restrict sum, float *restrict out) {
    for (int64_t row = 0; row < n; row++) {
        const float *source[TABLES];
        for (int t = 0; t < tables; t++) source[t] = table[t] + (index[t] ? index[t][row] : row) * 2 * WIDTH;
        float *s = sum + row * 2 * WIDTH;
        for (int k = 0; k < 2 * WIDTH; k++) s[k] = source[0][k] + source[1][k] + source[2][k];
        if (tables > 3) for (int k = 0; k < 2 * WIDTH; k++) s[k] += source[3][k];
        if (!out) continue;
        float *y = out + row * 2 * WIDTH;
        for (int k = 0; k < 2 * WIDTH; k++) y[k] = s[k] * sigmoid(s[k]);
    }
}

/* With a null sum there was no SiLU. */
void gather_backward(int64_t n, int tables, const float *restrict dy, const float *restrict sum,
                     float *const *gradient, const int64_t *const *index) {
    for (int64_t row = 0; row < n; row++) {
        const float *d = dy + row * 2 * WIDTH;
        float g[2 * WIDTH];
        for (int k = 0; k < 2 * WIDTH; k++) {
            float x = sum ? sum[row * 2 * WIDTH + k] : 0, s = sigmoid(x);
            g[k] = sum ? d[k] * (s + x * s * (1.0f - s)) : d[k];
        }
        for (int t = 0; t < tables; t++) {
            float *to = gradient[t] + (index[t] ? index[t][row] : row) * 2 * WIDTH;
            for (int k = 0; k < 2 * WIDTH; k++) to[k] += g[k];
        }
    }
}
