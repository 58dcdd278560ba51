"""Answers as models give them, answers as MATH and GSM8K hold them, and whether they agree. `==` right, `!=` wrong."""

PAIRS = r"""
18  ==  18
18  !=  19
-7  ==  -7
-7  !=  7
18.0  ==  18
18.00  ==  18
18.5  !=  18
$18  ==  18
$18.00  ==  18
\$18  ==  18
18 dollars  ==  18
18 dollars  !=  81
18 eggs per day  ==  18
1,000  ==  1000
1{,}000  ==  1000
1,000,000  ==  1000000
1,000  !=  1001
10,5  !=  105
0.5  ==  1/2
.5  ==  0.5
0.5  !=  0.05
1/3  ==  0.333333
1/3  !=  0.333
1/3  !=  0.34
2/3  ==  \frac{2}{3}
\frac{2}{3}  ==  \dfrac{2}{3}
\frac23  ==  \frac{2}{3}
\tfrac{4}{6}  ==  \frac{2}{3}
-\frac{1}{2}  ==  \frac{-1}{2}
-\frac{1}{2}  ==  -0.5
-\frac{1}{2}  !=  \frac{1}{2}
\frac{3}{2}  !=  \frac{2}{3}
1\frac{1}{2}  ==  \frac{3}{2}
3\frac12  ==  3.5
1 1/2  ==  1.5
50\%  ==  50
50%  ==  50
50\%  ==  0.5
50\%  !=  5
50\%  !=  0.05
12.5\%  ==  \frac{1}{8}
25 percent  ==  25
10\text{ cm}  ==  10
10 cm  ==  10
10 cm^2  ==  10
10 square units  ==  10
12\text{ inches}  ==  12
5 \text{ hours}  !=  6
90^\circ  ==  90
90^{\circ}  ==  90
90 degrees  ==  90
90^\circ  !=  180
3{:}30  !=  4
2\sqrt{3}  ==  \sqrt{12}
2\sqrt{3}  !=  3\sqrt{2}
\sqrt{16}  ==  4
\frac{1}{\sqrt{2}}  ==  \frac{\sqrt{2}}{2}
\frac{\sqrt{3}}{3}  ==  \frac{1}{\sqrt{3}}
\frac{\sqrt{3}}{2}  !=  \frac{\sqrt{2}}{2}
\sqrt[3]{8}  ==  2
\sqrt{2}+\sqrt{3}  ==  \sqrt{3}+\sqrt{2}
\sqrt{2}+\sqrt{3}  !=  \sqrt{5}
\pi  ==  \pi
2\pi  !=  \pi
\frac{\pi}{2}  ==  \pi/2
4\pi  !=  4
\pi  !=  3.14
2^{10}  ==  1024
2^{10}  !=  20
5!  ==  120
\binom{5}{2}  ==  10
\binom{5}{2}  !=  \binom{5}{1}
\log_2 8  ==  3
|-3|  ==  3
e^{2}  !=  e
10^{-3}  ==  0.001
6.02 \times 10^{3}  ==  6020
3+4  ==  7
3+4  !=  8
x^2+2x+1  ==  (x+1)^2
x^2+2x+1  !=  (x-1)^2
2x+3  ==  3+2x
2x+3  !=  2x-3
x(x-1)  ==  x^2-x
\frac{x+1}{2}  ==  \frac{1}{2}x+\frac{1}{2}
\frac{1}{x}  !=  x
a+b  ==  b+a
a-b  !=  b-a
a \cdot b  ==  b \cdot a
x=5  ==  5
5  ==  x=5
x = 5  !=  6
y=2x+3  ==  2x+3
y=2x+3  !=  y=3x+2
x=1 \text{ or } x=2  ==  1,2
1,2  ==  2,1
1, 2  !=  1, 3
1,2,3  !=  1,2
\{1,2\}  ==  \{2,1\}
\{1,2\}  !=  \{1,3\}
\{1,2\}  ==  1,2
\emptyset  ==  \{\}
(1,2)  ==  (1,2)
(1, 2)  ==  \left(1,2\right)
(1,2)  !=  (2,1)
(1,2,3)  ==  (1, 2, 3)
(1,2,3)  !=  (1,2,4)
(\frac{1}{2},3)  ==  (0.5,3)
(3,\frac{\pi}{2})  ==  \left( 3, \frac{\pi}{2} \right)
(3,\frac{\pi}{2})  !=  (3,\pi)
[1,2]  ==  [1,2]
[1,2)  !=  [1,2]
[1,2)  !=  (1,2)
(1,2)  ==  1<x<2
1<x<2  ==  (1,2)
x \le 2  ==  (-\infty,2]
(-\infty,2]  ==  x \le 2
x > 0  ==  (0,\infty)
x > 0  !=  [0,\infty)
(-\infty,2]\cup[3,\infty)  ==  [3,\infty)\cup(-\infty,2]
(-\infty,2]\cup[3,\infty)  !=  (-\infty,2)\cup(3,\infty)
\infty  ==  \infty
\infty  !=  -\infty
5\pm\sqrt{2}  ==  5-\sqrt{2},5+\sqrt{2}
5\pm\sqrt{2}  !=  5+\sqrt{2}
\begin{pmatrix}1&2\\3&4\end{pmatrix}  ==  \begin{bmatrix}1&2\\3&4\end{bmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix}  ==  \begin{pmatrix}1\\2\end{pmatrix}
\begin{pmatrix} 1 \\ 2 \end{pmatrix}  !=  \begin{pmatrix}2\\1\end{pmatrix}
\begin{pmatrix}1/2&0\\0&1\end{pmatrix}  ==  \begin{pmatrix}0.5&0\\0&1\end{pmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix}  !=  \begin{pmatrix}1&3\\2&4\end{pmatrix}
\text{Monday}  ==  Monday
Monday  ==  monday
Monday  !=  Tuesday
Monday  !=  day Mon
\text{Evelyn}  ==  Evelyn
Evelyn  !=  Evelin
\text{(A)}  ==  A
(B)  ==  B
A  !=  B
\text{east}  ==  east
even  !=  odd
yes  !=  no
no solution  ==  \text{no solution}
no solution  !=  0
blue  !=  5
5  !=  blue
3-2i  ==  -2i+3
3-2i  !=  3+2i
1:2  ==  1/2
\sin^2 x+\cos^2 x  ==  1
\sin x  !=  \cos x
\frac{1}{2}+\frac{1}{3}  ==  \frac{5}{6}
0  !=  none
0  ==  -0
0.1  ==  10^{-1}
7  !=  7.5
007  ==  7
1e3  !=  3
The answer is \boxed{18}.  ==  18
So we get \boxed{\frac{1}{2}}.  ==  0.5
Thus $x = \boxed{5}$ and not \boxed{6}.  ==  6
First \boxed{3}, finally \boxed{\dfrac{9}{3}+1}  ==  4
\boxed{\text{Monday}}  ==  Monday
\fbox{3} is wrong, \boxed{4} is right  ==  4
\boxed{  !=  5
\boxed{5  !=  6
She makes 9 * 2 = $18 every day.  ==  18
She makes 9 * 2 = $18 every day.  !=  9
Natalia sold 48/2 = <<48/2=24>>24 clips in May. #### 72  ==  72
#### 1,234  ==  1234
The final answer is: 42  ==  42
Answer: 7/2  ==  3.5
The answer is 3 apples.  ==  3
I think it is 12, but no: it is 13.  ==  13
I think it is 12, but no: it is 13.  !=  12
So the length is $\frac{\sqrt{3}}{2}$.  ==  \frac{\sqrt{3}}{2}
So the length is $x = 2\sqrt{3}$ in all.  ==  \sqrt{12}
<think>maybe \boxed{1}</think> It is \boxed{2}.  ==  2
<think>maybe \boxed{2}</think> It is \boxed{1}.  !=  2
I do not know.  !=  5
The answer is 5 or so, \boxed{} to be exact.  !=  6
(1,2)  !=  2
2  !=  (1,2)
""".strip("\n")

TOWER = "9^{9^{9^{9}}}"
HOSTILE = [
    TOWER,
    "{" * 50_000,
    "\\frac{" * 10_000,
    "\\boxed{" * 10_000 + "5",
    "1" * 1_000_000,
    "\\sqrt{" * 200 + "5" + "}" * 200,
    "(" * 20 + "2" + "^2)" * 20,
    "2^{1000000000}",
    "(10^9)!",
    "1000000!",
    "99999999999999^{99999999}",
    "\\begin{pmatrix}" * 50,
    "$" * 10_001,
    "\\left" * 5_000,
    "answer is " * 20_000,
    "<think>" * 20_000,
    "$$" + "\\$" * 5_000,
    "#" * 50_000,
    "5" + "\x00" * 10,
    "\ud8005",
    "__import__('os')._exit(0)",
    "5;" * 400,
    ",".join("12345678901234567890" for _ in range(40)),
    "x" + "*x" * 400,
    "= " * 10_000,
]
SLOW = ["x^{1000}+(x+1)^{500}", "(x+y+z)^{200}"]
"""Well-formed and small, but beyond a second: these do reach the limits."""
