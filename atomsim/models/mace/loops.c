/* What MACE does between matrix products, one pass over memory each: sums over neighbours and the symmetric contraction.
 *
 * Single precision, one thread. Channels run fastest everywhere, so that every inner loop is over them. An atom's
 * neighbours are the first `degree` of its slots.
 */
#include <stdint.h>

enum { MOST = 512 };

/* Pieces of a convolution: of path `path` and source component `source`, entries first[g] to first[g + 1]. */
typedef struct {
    int64_t groups;
    const int32_t *path, *source, *first, *harmonic, *target;
    const float *coupling;
} Paths;

/* out[atom, target] += sum over neighbours, entries: coupling Y[harmonic] R[bond, path] S[neighbour, source] */
void message_forward(int64_t atoms, int64_t slots, int64_t harmonics, int64_t paths, int64_t sources, int64_t targets, int64_t channels,
                     const int64_t *degree, const int64_t *neighbour, const int64_t *bond, const Paths *p,
                     const float *restrict Y, const float *restrict R, const float *restrict S, float *restrict out) {
    for (int64_t a = 0; a < atoms; a++) {
        float *o = out + a * targets * channels;
        for (int64_t k = 0; k < degree[a]; k++) {
            const int64_t at = a * slots + k;
            const float *y = Y + at * harmonics, *r = R + bond[at] * paths * channels, *s = S + neighbour[at] * sources * channels;
            for (int64_t g = 0; g < p->groups; g++) {
                const float *w = r + p->path[g] * channels, *f = s + p->source[g] * channels;
                float t[MOST];
                for (int64_t c = 0; c < channels; c++) t[c] = w[c] * f[c];
                for (int32_t e = p->first[g]; e < p->first[g + 1]; e++) {
                    const float by = p->coupling[e] * y[p->harmonic[e]];
                    float *restrict to = o + p->target[e] * channels;
                    for (int64_t c = 0; c < channels; c++) to[c] += by * t[c];
                }
            }
        }
    }
}

void message_backward(int64_t atoms, int64_t slots, int64_t harmonics, int64_t paths, int64_t sources, int64_t targets, int64_t channels,
                      const int64_t *degree, const int64_t *neighbour, const int64_t *bond, const Paths *p,
                      const float *restrict Y, const float *restrict R, const float *restrict S, const float *restrict dout,
                      float *restrict dY, float *restrict dR, float *restrict dS) {
    for (int64_t a = 0; a < atoms; a++) {
        const float *o = dout + a * targets * channels;
        for (int64_t k = 0; k < degree[a]; k++) {
            const int64_t at = a * slots + k;
            const float *y = Y + at * harmonics, *r = R + bond[at] * paths * channels, *s = S + neighbour[at] * sources * channels;
            float *dy = dY + at * harmonics, *dr = dR + bond[at] * paths * channels, *ds = dS + neighbour[at] * sources * channels;
            for (int64_t g = 0; g < p->groups; g++) {
                const float *w = r + p->path[g] * channels, *f = s + p->source[g] * channels;
                float t[MOST], u[MOST];
                for (int64_t c = 0; c < channels; c++) { t[c] = w[c] * f[c]; u[c] = 0; }
                for (int32_t e = p->first[g]; e < p->first[g + 1]; e++) {
                    const float by = p->coupling[e] * y[p->harmonic[e]];
                    const float *restrict from = o + p->target[e] * channels;
                    float along = 0;
                    for (int64_t c = 0; c < channels; c++) { u[c] += by * from[c]; along += t[c] * from[c]; }
                    dy[p->harmonic[e]] += p->coupling[e] * along;
                }
                float *restrict dw = dr + p->path[g] * channels, *restrict df = ds + p->source[g] * channels;
                for (int64_t c = 0; c < channels; c++) { dw[c] += u[c] * f[c]; df[c] += u[c] * w[c]; }
            }
        }
    }
}

/* out[atom, harmonic, kind of neighbour] += Y[harmonic] H[bond] */
void element_forward(int64_t atoms, int64_t slots, int64_t harmonics, int64_t kinds, int64_t width, const int64_t *degree,
                     const int64_t *neighbour, const int64_t *bond, const int64_t *kind,
                     const float *restrict Y, const float *restrict H, float *restrict out) {
    for (int64_t a = 0; a < atoms; a++)
        for (int64_t k = 0; k < degree[a]; k++) {
            const int64_t at = a * slots + k, z = kind[neighbour[at]];
            const float *y = Y + at * harmonics, *restrict h = H + bond[at] * width;
            for (int64_t m = 0; m < harmonics; m++) {
                float *restrict to = out + ((a * harmonics + m) * kinds + z) * width;
                for (int64_t c = 0; c < width; c++) to[c] += y[m] * h[c];
            }
        }
}

void element_backward(int64_t atoms, int64_t slots, int64_t harmonics, int64_t kinds, int64_t width, const int64_t *degree,
                      const int64_t *neighbour, const int64_t *bond, const int64_t *kind,
                      const float *restrict Y, const float *restrict H, const float *restrict dout, float *restrict dY, float *restrict dH) {
    for (int64_t a = 0; a < atoms; a++)
        for (int64_t k = 0; k < degree[a]; k++) {
            const int64_t at = a * slots + k, z = kind[neighbour[at]];
            const float *y = Y + at * harmonics, *restrict h = H + bond[at] * width;
            float *restrict dh = dH + bond[at] * width;
            for (int64_t m = 0; m < harmonics; m++) {
                const float *restrict from = dout + ((a * harmonics + m) * kinds + z) * width;
                float along = 0;
                for (int64_t c = 0; c < width; c++) { dh[c] += y[m] * from[c]; along += h[c] * from[c]; }
                dY[at * harmonics + m] += along;
            }
        }
}

/* Monomials of up to third order: value[atom, out] = sum of weight x_i x_j x_k, slope its derivatives; j or k < 0: absent. */
void polynomial(int64_t atoms, int64_t n, int64_t outs, int64_t channels, int64_t terms, const int32_t *out, const int32_t *i,
                const int32_t *j, const int32_t *k, const float *restrict weight, const float *restrict x, float *restrict value, float *restrict slope) {
    for (int64_t a = 0; a < atoms; a++) {
        const float *xa = x + a * n * channels;
        for (int64_t t = 0; t < terms; t++) {
            const float *restrict w = weight + t * channels, *xi = xa + i[t] * channels;
            float *restrict v = value + (a * outs + out[t]) * channels;
            float *s = slope + (a * outs + out[t]) * n * channels, *si = s + i[t] * channels;
            if (j[t] < 0) {
                for (int64_t c = 0; c < channels; c++) { v[c] += w[c] * xi[c]; si[c] += w[c]; }
                continue;
            }
            const float *xj = xa + j[t] * channels;
            float *sj = s + j[t] * channels;
            float of_i[MOST], of_j[MOST];
            if (k[t] < 0) {
                for (int64_t c = 0; c < channels; c++) { of_i[c] = w[c] * xj[c]; of_j[c] = w[c] * xi[c]; v[c] += of_i[c] * xi[c]; }
            } else {
                const float *xk = xa + k[t] * channels;
                float *sk = s + k[t] * channels;
                float of_k[MOST];
                for (int64_t c = 0; c < channels; c++) {
                    const float wi = w[c] * xi[c];
                    of_k[c] = wi * xj[c];
                    of_j[c] = wi * xk[c];
                    of_i[c] = w[c] * xj[c] * xk[c];
                    v[c] += of_k[c] * xk[c];
                }
                for (int64_t c = 0; c < channels; c++) sk[c] += of_k[c];
            }
            for (int64_t c = 0; c < channels; c++) si[c] += of_i[c];
            for (int64_t c = 0; c < channels; c++) sj[c] += of_j[c];
        }
    }
}
