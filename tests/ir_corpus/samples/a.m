#import <objc/Object.h>
@interface A : Object
- (int)add:(int)x;
@end
@implementation A
- (int)add:(int)x { return x + 1; }
@end
